"""Models whose layers are exchanged: to low rank, to dense ones, for export."""
