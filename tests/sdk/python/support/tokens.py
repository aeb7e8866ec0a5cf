"""Tokens as an application's backend makes them, with every kind of key."""

import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "a-secret-of-these-tests-and-of-nothing-else"

_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_ECDSA = ec.generate_private_key(ec.SECP256R1())
_EDDSA = ed25519.Ed25519PrivateKey.generate()

_KEYS = {"HS256": SECRET, "RS256": _RSA, "ES256": _ECDSA, "EdDSA": _EDDSA}

ALGORITHMS = list(_KEYS)


def _pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


# For the section `client.token`.
PUBLIC_KEYS = {
    "rsa_public_key": _pem(_RSA),
    "ecdsa_public_key": _pem(_ECDSA),
    "eddsa_public_key": _pem(_EDDSA),
}


def token(user, algorithm="HS256", **claims):
    return jwt.encode({"sub": user, **claims}, _KEYS[algorithm], algorithm=algorithm)


def in_seconds(seconds):
    """The moment `seconds` from now, as `exp` wants it."""
    return int(time.time()) + seconds
