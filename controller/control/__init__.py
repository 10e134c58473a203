"""Recipes, sequences and the only writer to equipment. The PLC stays the safety system; we are supervisory."""
