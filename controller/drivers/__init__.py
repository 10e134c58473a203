"""Drivers: equipment protocols on one side, Frames and Writes on the other. Siblings never import each other's internals."""
