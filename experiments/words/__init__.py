"""The language model of compression runs: text in chunks of words, and the network."""
