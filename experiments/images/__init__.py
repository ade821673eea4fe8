"""The image runs: networks of convolutions, dense, at fixed and adaptive rank."""
