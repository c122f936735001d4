"""How good can masks be? Ideal masks and a model.

python examples/oracle_evaluation.py SONGS
"""

import sys

from stemblend.evaluation import aggregate, evaluate

found = evaluate({"ideal ratio mask": "irm1", "sNMF": "snmf"}, sys.argv[1], protocol="mdx")
for problem in found.problems:
    print(problem)
print(aggregate(found.scores, found.protocol))
