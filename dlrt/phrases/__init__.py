"""The embedded corpus: a grammar of Portuguese and English, and a sample of it."""

from dlrt.phrases.generate import generate_parts as generate_parts
from dlrt.phrases.sentence_pair import SentencePair as SentencePair
