"""Drivers: an equipment's protocol on one side, Frames and Writes on the other."""
