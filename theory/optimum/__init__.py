"""Tools for the minimum of HUCL."""
