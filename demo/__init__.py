"""Insula's main job on real data: 16 airlines share one table, and each sees its own flights only."""
