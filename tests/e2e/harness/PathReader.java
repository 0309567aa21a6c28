import java.io.FileInputStream;
import java.io.InputStream;
import java.nio.file.Path;
import java.security.cert.CertPath;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertificateFactory;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/*
 * What Java's certificate paths say of chains, with the CRLs that Java itself fetches from
 * the distribution points in them (com.sun.security.enableCRLDP). Arguments: the root, and
 * then for each chain the certificate below it and the leaf. A line for each: "good", or the
 * reason and the words of a refusal.
 */
class PathReader {
	static X509Certificate read(CertificateFactory factory, String file) throws Exception {
		try (InputStream in = new FileInputStream(file)) {
			return (X509Certificate) factory.generateCertificate(in);
		}
	}

	public static void main(String[] files) throws Exception {
		CertificateFactory factory = CertificateFactory.getInstance("X.509");
		TrustAnchor root = new TrustAnchor(read(factory, files[0]), null);

		for (int i = 1; i + 1 < files.length; i += 2) {
			CertPathValidator validator = CertPathValidator.getInstance("PKIX");
			PKIXRevocationChecker checker = (PKIXRevocationChecker) validator.getRevocationChecker();
			PKIXParameters parameters = new PKIXParameters(Set.of(root));
			CertPath path = factory.generateCertPath(
			    List.of(read(factory, files[i + 1]), read(factory, files[i])));

			checker.setOptions(EnumSet.of(PKIXRevocationChecker.Option.PREFER_CRLS,
			    PKIXRevocationChecker.Option.NO_FALLBACK));
			parameters.addCertPathChecker(checker);
			try {
				validator.validate(path, parameters);
				System.out.println("good");
			} catch (CertPathValidatorException e) {
				System.out.println(e.getReason() + " " + e.getMessage() + " "
				    + String.valueOf(e.getCause()).replace('\n', ' '));
			}
		}
	}
}
