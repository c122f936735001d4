"""Every shape and type annotation of the package is checked while its tests run."""

import tests.typecheck  # noqa: F401 - the hook asks for it by name
import torch
from jaxtyping import install_import_hook
from threadpoolctl import threadpool_limits

_hook = install_import_hook("stemblend", "tests.typecheck.checked")

# the arrays of the tests are small, and tests run side by side: threads would only wait
torch.set_num_threads(1)
threadpool_limits(1)
