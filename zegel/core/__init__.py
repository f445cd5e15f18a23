"""The rules. No I/O, no clock, no chance, no framework: values in, values out."""
