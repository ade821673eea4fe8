"""Archives of sweeps: what is in them, checked, repaired, merged and renamed."""
