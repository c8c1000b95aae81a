#!/usr/bin/env python3
"""python3 -m unittest test_licences.py"""
import unittest

import licences


class Expressions(unittest.TestCase):
    def test_fine(self):
        for text in ("MIT", "MIT OR Apache-2.0", "MIT/Apache-2.0", "MIT OR Apache-2.0 OR LGPL-2.1-or-later",
                     "(MIT OR Apache-2.0) AND Unicode-3.0", "Apache-2.0 WITH LLVM-exception", "GPL-2.0 OR (Zlib AND ISC)",
                     "GPL-3.0-only AND MIT OR BSD-3-Clause"):
            self.assertTrue(licences.allowed(text), text)

    def test_not_fine(self):
        for text in ("", "GPL-2.0", "MIT AND GPL-2.0", "(MIT OR Apache-2.0) AND NCSA", "LGPL-2.1-or-later OR GPL-3.0",
                     "GPL-2.0 WITH Classpath-exception-2.0", "MIT AND (GPL-2.0 OR MPL-2.0)", "MIT WITH Odd-exception"):
            self.assertFalse(licences.allowed(text), text)

    def test_nonsense(self):
        for text in ("(MIT", "MIT MIT", "MIT)"):
            with self.assertRaises(ValueError):
                licences.allowed(text)

    def test_packages(self):
        package = {"name": "a", "license": "MIT", "source": licences.SOURCE}
        self.assertEqual(list(licences.problems(package)), [])
        self.assertEqual(list(licences.problems({**package, "source": None})), [])
        self.assertEqual(len(list(licences.problems({**package, "source": "git+https://example.org/a"}))), 1)
        self.assertEqual(len(list(licences.problems({**package, "license": None}))), 1)
        self.assertEqual(len(list(licences.problems({**package, "license": "(MIT OR Apache-2.0) AND NCSA"}))), 1)
        self.assertEqual(list(licences.problems({**package, "name": "libfuzzer-sys", "license": "(MIT OR Apache-2.0) AND NCSA"})), [])


if __name__ == "__main__":
    unittest.main()
