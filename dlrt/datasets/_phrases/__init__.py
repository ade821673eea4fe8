"""The embedded corpus: a grammar of Portuguese and English, and a sample of it."""

from dlrt.datasets._phrases.generate import load_phrases

__all__ = ["load_phrases"]
