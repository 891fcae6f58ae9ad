"""Writes one message of the corpus to a file: corpus_one.py N FILE

Without its last line end, because swaks puts one behind what it reads.
"""
import sys

import clients

open(sys.argv[2], "wb").write(clients.corpus()[int(sys.argv[1])].removesuffix(b"\r\n"))
