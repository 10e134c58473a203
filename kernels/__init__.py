"""Numba functions on floats and arrays in SI units. No classes, no I/O, no logging, no clock; value and status out."""
