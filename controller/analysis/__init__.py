"""`celltwin analyse`: the twin's offline way in. Files in, one row per finding out."""
