"""Contract tests for extensions; may import every room but tasks and data, and no test framework.

Inherit from a contract in your own test file and return what you have written; pytest runs the
inherited tests::

    class TestMySink(SinkContract):
        def make_sink(self, folder):
            return MySink(folder / "log")

        def read_scalars(self, folder):
            return my_reader(folder / "log")
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
