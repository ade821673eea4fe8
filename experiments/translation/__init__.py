"""Translation with a transformer: text, tensors, networks and scores."""
