#!/usr/bin/env python3
"""licences.py CARGO.TOML...   fail on a dependency that we may not pass on, or that comes from elsewhere than crates.io.

Reads `cargo metadata` of each workspace, for all targets and features.  A licence expression is fine when some choice of its
alternatives leaves only licences of ALLOWED.  deny.toml at the root says the same to users of cargo-deny.
"""
import json
import re
import subprocess
import sys

ALLOWED = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "Unicode-3.0",
           "Unlicense", "CC0-1.0", "0BSD", "BSL-1.0"}
# the runtime that cargo-fuzz links into fuzz targets; never part of what is released
EXCEPTIONS = {"libfuzzer-sys": {"NCSA"}}
SOURCE = "registry+https://github.com/rust-lang/crates.io-index"


def allowed(expression, licences=frozenset(ALLOWED)):
    """Whether an SPDX expression (AND binds closer than OR; an old-style "/" is OR) can be met with `licences`."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    result, rest = _either(tokens, licences)
    if rest:
        raise ValueError("cannot read the licence expression %r" % expression)
    return result


def _either(tokens, licences):
    result, tokens = _both(tokens, licences)
    while tokens[:1] == ["OR"]:
        other, tokens = _both(tokens[1:], licences)
        result = result or other
    return result, tokens


def _both(tokens, licences):
    result, tokens = _one(tokens, licences)
    while tokens[:1] == ["AND"]:
        other, tokens = _one(tokens[1:], licences)
        result = result and other
    return result, tokens


def _one(tokens, licences):
    if tokens[:1] == ["("]:
        result, tokens = _either(tokens[1:], licences)
        if tokens[:1] != [")"]:
            raise ValueError("a parenthesis is not closed")
        return result, tokens[1:]
    if tokens[1:2] == ["WITH"]:
        return " ".join(tokens[:3]) in licences, tokens[3:]
    return bool(tokens) and tokens[0] in licences, tokens[1:]


def problems(package):
    """Why a package of `cargo metadata` cannot be used."""
    if package["source"] not in (None, SOURCE):
        yield "comes from " + package["source"]
    licence = package["license"]
    if not licence:
        yield "names no licence"
    elif not allowed(licence, ALLOWED | EXCEPTIONS.get(package["name"], set())):
        yield "licence " + licence


def main(manifests):
    failed = 0
    for manifest in manifests:
        text = subprocess.run(["cargo", "metadata", "--format-version", "1", "--all-features", "--manifest-path", manifest],
                              check=True, stdout=subprocess.PIPE, text=True).stdout
        packages = json.loads(text)["packages"]
        for package in packages:
            for problem in problems(package):
                print("%s: %s %s: %s" % (manifest, package["name"], package["version"], problem))
                failed += 1
        print("%s: %d packages" % (manifest, len(packages)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["Cargo.toml"]))
