#!/usr/bin/env python3
"""Checks a receipt's proof without Nightsafe: python3 verify.py [--rejected] PROOF VERIFIER-KEY [EXTRACT]

Needs Python 3.8 and the package `cryptography`, for Ed25519 alone. Exit status 0 when everything holds, 1 when not. A
proof that the file was rejected is 1 too, unless --rejected says that this is what is to be proven (and nothing else).
The formats: c2sp.org/tlog-proof, c2sp.org/tlog-checkpoint, c2sp.org/signed-note, RFC 6962 section 2.1, RFC 8785.
"""

import base64
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def need(holds, what):
    if not holds:
        sys.exit("NOT PROVEN: " + what)


def canonical(value):
    """RFC 8785, for objects, lists, text, truth, null and whole numbers."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(canonical(name) + ":" + canonical(value[name]) for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def verifier_key(text):
    """NAME+HASH+KEY: the name, the four bytes that begin its signatures, the key."""
    name, hash_, key = text.strip().split("+", 2)
    key = base64.b64decode(key, validate=True)
    need(len(key) == 33 and key[0] == 1, "the verifier key is not an Ed25519 key")
    key_id = sha256(name.encode(), b"\n", key)[:4]
    need(key_id.hex() == hash_, "the parts of the verifier key do not belong together")
    return name, key_id, Ed25519PublicKey.from_public_bytes(key[1:])


def checkpoint(note, key):
    """The size and the root of the tree, once the log's signature holds."""
    name, key_id, public = key
    text, signatures = note.rsplit("\n\n", 1)
    text += "\n"
    origin, size, root = text.split("\n")[:3]
    need(origin == name, "the checkpoint is of the log %s, not of %s" % (origin, name))
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        signature = base64.b64decode(signature, validate=True)
        if dash == "\u2014" and signer == name and signature[:4] == key_id:
            try:
                public.verify(signature[4:], text.encode())
            except InvalidSignature:
                need(False, "the signature of the checkpoint is wrong")
            return int(size), base64.b64decode(root, validate=True)
    need(False, "the checkpoint is not signed by this key")


def root_of(leaf, index, size, path):
    """RFC 9162, section 2.1.3.2, which verifies RFC 6962's proofs."""
    need(index < size, "the entry lies outside of the tree")
    node, last, hash_ = index, size - 1, leaf
    for sibling in path:
        need(last > 0, "the inclusion proof is too long")
        if node & 1 or node == last:
            hash_ = sha256(b"\1", sibling, hash_)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            hash_ = sha256(b"\1", hash_, sibling)
        node, last = node >> 1, last >> 1
    need(last == 0, "the inclusion proof is too short")
    return hash_


def main(proof_file, key_text, extract=None, rejected=False):
    with open(proof_file, encoding="utf-8", newline="") as file:
        head, note = file.read().split("\n\n", 1)
    lines = head.split("\n")
    need(lines[0] == "c2sp.org/tlog-proof@v1", "this is no tlog-proof")
    need(lines[1].startswith("extra ") and lines[2].startswith("index "), "this is no proof of a receipt")
    extra = json.loads(base64.b64decode(lines[1][len("extra "):], validate=True))
    index = int(lines[2][len("index "):])
    path = [base64.b64decode(line, validate=True) for line in lines[3:]]

    size, root = checkpoint(note, verifier_key(key_text))
    leaf = extra["leaf"].encode()
    need(root_of(sha256(b"\0", leaf), index, size, path) == root, "the entry is not in the log")
    public = json.loads(leaf)
    need(public["sequence"] == index + 1, "the entry's number is not its place in the log")

    private = extra.get("private")
    if private is not None:
        commitment = sha256(bytes.fromhex(extra["salt"]), canonical(private).encode()).hex()
        need(commitment == public["private"], "the private part is not the one that the entry commits to")

    kind = public["kind"]
    if extract is not None:
        need(kind in ("upload.accepted", "upload.rejected"), "the proof is of %s, which names no extract" % kind)
        digest = hashlib.sha256()
        length = 0
        with open(extract, "rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                digest.update(piece)
                length += len(piece)
        need(length == public["size"], "the file has %d bytes, the entry says %d" % (length, public["size"]))
        need(digest.hexdigest() == public["sha256"], "the file's SHA-256 is not the entry's")

    verdict = ", and it was REJECTED" if kind == "upload.rejected" else ""
    print("PROVEN%s: entry %d of the log %s (%d entries)" % (verdict, index + 1, note.split("\n", 1)[0], size))
    for name in ("kind", "at", "org", "dataset", "upload", "size", "sha256"):
        if name in public:
            print("  %-8s %s" % (name, public[name]))
    for name in ("gateway", "name", "account", "fingerprint", "reasons"):
        if private and private.get("detail", {}).get(name):
            print("  %-8s %s" % (name, json.dumps(private["detail"][name], ensure_ascii=True)))
    if extract is not None:
        print("  The file %s is the one that is meant." % extract)
    if rejected != (kind == "upload.rejected"):
        sys.exit("It holds, but it is of %s: %s." % (kind, "not of a rejection" if rejected else "see --rejected"))


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--rejected"]
    if len(words) not in (2, 3):
        sys.exit(__doc__)
    main(*words, rejected="--rejected" in sys.argv[1:])
