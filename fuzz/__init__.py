"""Hostile octets against what arrival promises: the promises, seeds to begin with, and targets for atheris.

The tests keep the same promises over the seeds and over everything that a target ever found.
"""
