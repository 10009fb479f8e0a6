package reason

// explainManifest explains what may be wrong with the signed list of what may be installed, and with who signs it.
func explainManifest(code Code) string {
	switch code {
	case "BUNDLE_INVALID":
		return "A bundle is a tar archive that pipeops-agent bundle makes: manifest.json first, then plain files. What is given cannot be opened or is something else, such as a bundle that was packed once more."
	case "BUNDLE_TRUNCATED":
		return "The archive does not go on to its end: the copy was cut, or the medium was full. It is found before anything is changed."
	case "BUNDLE_LACKS":
		return "An install from a bundle asks nobody else, and this one does not hold the version of k3s that is wanted. What it holds is named."
	case "BUNDLE_ARCH":
		return "The programs in the bundle run on another kind of processor than this machine has. What it holds is named."
	case "MANIFEST_UNSIGNED":
		return "What the mirror hands out as manifest.json is no signed document: a page that asks for a login, the answer of a proxy, or a list without a signature. Nothing of it is used."
	case "MANIFEST_TAMPERED":
		return "The manifest names a trusted key, but the signature does not fit its bytes: they were changed after they were signed. Nothing of it is used."
	case "MANIFEST_KEY_UNKNOWN":
		return "The manifest is signed, but by no key that this program, the file given by --trust, or a rotation of their keys trusts. pipeops-agent version shows the trusted keys; the mirror was also asked for rotations that lead to newer ones."
	case "MANIFEST_KEY_EXPIRED":
		return "Every key is trusted for a limited time, and for the one that signed this manifest it is over, or the clock of this machine runs ahead. The mirror was also asked for a rotation that leads to newer keys."
	case "MANIFEST_EXPIRED":
		return "A manifest is valid for a limited time, so that nobody can hold a machine at old releases for ever. Either the mirror is no longer kept up to date, or the clock of this machine runs ahead."
	case "MANIFEST_OLD":
		return "Manifests are numbered, and this machine has taken a later one already, or this program was built after it. An older one could bring back a release with a known hole, so it is refused however well it is signed."
	case "MANIFEST_CLOCK":
		return "The clock says a time at which the manifest, its key or this program did not exist yet. With such a clock nothing can be said about what has expired."
	case "MANIFEST_FORMAT":
		return "The manifest is signed by a trusted key, but it is of a format that this version does not know, or breaks a rule: a path that leaves its folder, a file that is listed twice, a size that cannot be. It is not guessed what it means."
	case "MANIFEST_AGENT_OLD":
		return "The manifest says which version of pipeops-agent is needed at least, usually since an older one installs something in a wrong way."
	case "MANIFEST_LACKS":
		return "Only what the signed manifest lists is installed, and it does not list this version for this architecture. The versions that it has are named."
	case "TRUST_NONE":
		return "Released programs have the keys of their makers built in. This one was built without, and neither --trust nor trust: in /etc/pipeops-agent/config.yaml names a file with keys, so there is no way to tell a real manifest from another."
	case "TRUST_FILE":
		return "Whoever can write the file with the trusted keys, or what is kept of them in /var/lib/pipeops-agent/manifest, decides what is installed as root. So the file must be a trust document, belong to root, and be writable by nobody else."
	case "TRUST_ROTATION":
		return "A rotation leads from one set of keys to the next one. This one leads from another set than the one that is trusted here, goes back, or is not signed by each of its new keys. The present keys stay."
	}
	return ""
}
