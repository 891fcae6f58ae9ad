"""Writes one message of the corpus to a file: corpus_one.py N FILE"""
import sys

import clients

open(sys.argv[2], "wb").write(clients.corpus()[int(sys.argv[1])])
