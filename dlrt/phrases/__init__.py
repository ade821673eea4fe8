"""The embedded corpus: a grammar of Portuguese and English, and a sample of it."""
