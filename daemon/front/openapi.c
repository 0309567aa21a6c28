#include "daemon/front/routes.h"

/* The file is put into the program as it is; the path is relative to where the
 * compiler runs, the root of the tree. */
__asm__(".section .rodata\n"
	".global openapi_text\n"
	"openapi_text:\n"
	".incbin \"daemon/front/openapi.yaml\"\n"
	"openapi_text_end:\n"
	".byte 0\n"
	".balign 8\n"
	".global openapi_text_len\n"
	"openapi_text_len:\n"
	".quad openapi_text_end - openapi_text\n"
	".previous\n");
