"""TM Forum's Open APIs as a facade of the same operations: TMF654 Prepay Balance Management v4 and TMF635 Usage
Management v4, in the forms of their published definitions and of TMF630 (REST design guidelines).
"""
