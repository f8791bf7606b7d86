"""How jobs come in and answers go out: one package for each transport, none of which holds a policy.
"""
