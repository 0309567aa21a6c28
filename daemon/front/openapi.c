#include "daemon/front/routes.h"

/* The file is put into the program as it is; the path is relative to where the
 * compiler runs, the root of the tree. */
__asm__(".section .rodata\n"
	".global openapi_text\n"
	".global openapi_text_end\n"
	"openapi_text:\n"
	".incbin \"daemon/front/openapi.yaml\"\n"
	"openapi_text_end:\n"
	".byte 0\n"
	".previous\n");
