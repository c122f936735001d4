"""How annotations are checked while the tests run."""

from beartype import BeartypeConf, beartype

# as PEP 484 means them: an int will do where a float is asked for
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
