"""Graphics that explain the method, made for print: `python -m evaluation.graphics`."""
