"""Which names, of flags, variables and fields of a JSON, hold what must never be shown. Pure."""

from __future__ import annotations

import re

_ALWAYS = {"SECRET", "SECRETS", "PASSWORD", "PASSWORDS", "PASSWD", "PASSPHRASE", "APIKEY", "APIKEYS", "CREDENTIAL",
           "CREDENTIALS", "CREDS", "JWT"}
# The same run together with what stands before it: PGPASSWORD, HFTOKEN.
_GLUED = re.compile(r".+(SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|APIKEYS?|CREDENTIALS?|(ACCESS|AUTH|HF)TOKEN"
                    r"|(ACCESS|SECRET|PRIVATE)KEY)|(ACCESS|AUTH|HF|API|BEARER)TOKEN|(ACCESS|SECRET|PRIVATE)KEY")
# What makes a key or a token a secret one, wherever the two words stand.
_KEY_OF, _TOKEN_OF = {"API", "ACCESS", "PRIVATE", "SIGNING", "ENCRYPTION"}, {
    "API", "ACCESS", "AUTH", "BEARER", "GITHUB", "HF", "HUB", "REFRESH", "SESSION", "SECURITY"}
_LAST = {"KEY", "TOKEN", "PAT", "PASS"}
_LAST_OF_MANY = {"KEYS", "TOKENS"}
# Time to first token, experts per token; the tokens of a vocabulary.
_NO_SECRET_BEFORE = {"FIRST", "PER", "EOS", "BOS", "PAD", "UNK", "SEP", "CLS", "STOP", "SPECIAL", "ADDED", "PROMPT",
                     "MAX", "MIN", "NUM", "TOTAL", "NEW", "INPUT", "OUTPUT", "PREFILL", "DECODE", "DRAFT", "COMPLETION"}
# Names of places: where a secret lies is none.
_PLACES = {"PATH", "FILE", "DIR"}
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([kKMGT]i?)?")


def surely_secret(name: str) -> bool:
    """Whether the words of `name` alone say so, wherever they stand in it: api_key, DB_PASSWORD_2, HF_TOKEN_READ."""
    words = _words(name)
    if words[-1] in _PLACES:
        return False
    pairs = set(zip(words, words[1:], strict=False))
    return any(word in _ALWAYS or _GLUED.fullmatch(word) for word in words) or any(
        second in ("KEY", "KEYS") and first in _KEY_OF or second in ("TOKEN", "TOKENS") and first in _TOKEN_OF
        for first, second in pairs)


def is_secret(name: str, value: str = "") -> bool:
    """Whether the value of a flag or variable must never be shown: it names a key, token, secret or password.

    A number at the end of a name counts for nothing (KEY_2). Names of many (HF_TOKENS) are those of secrets unless
    `value` is a number, as it is for MAX_TOTAL_TOKENS, or is not given.
    """
    words = _words(name)
    if words[-2:-1] and words[-2] in _NO_SECRET_BEFORE:
        return False
    if surely_secret(name) and not (words[-1] == "TOKENS" and _NUMBER.fullmatch(value.strip())):
        return True
    if words[-1] in _LAST_OF_MANY:
        return bool(value.strip()) and _NUMBER.fullmatch(value.strip()) is None
    return words[-1] in _LAST or words in (["WATERMARK", "CONFIG"], ["AWS", "ACCESS", "KEY", "ID"])


def _words(name: str) -> list[str]:
    split = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name.strip("-"))
    words = [word for word in re.split(r"[-_.]", split.upper()) if word]
    while len(words) > 1 and words[-1].isdigit():
        words.pop()
    return [*words[:-1], words[-1].rstrip("0123456789") or words[-1]] if words else [""]
