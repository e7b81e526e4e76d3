"""What is tried on copies leaves no trace in the originals, wherever they keep their state."""

import functools
import gc
import random
import sys
import threading
import types
import weakref
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_hparams.isolation import (
    copy_data,
    copy_module,
    dissolve,
    evaluation_mode,
    is_bound_to_itself,
    module_kept,
    random_state_kept,
)
from lightning_hparams.random_states import generators_kept

HELD = torch.Generator()


def draws():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_random_states_are_as_they_were_also_after_an_error():
    with random_state_kept():
        expected = draws()
    with pytest.raises(ZeroDivisionError), random_state_kept():
        _ = 1 / (draws() != expected)
    assert draws() == expected


def test_each_part_has_its_own_mode_again():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
    net[1].eval()
    with pytest.raises(ZeroDivisionError), evaluation_mode(net):
        _ = 1 / net.training
    assert [part.training for part in net.modules()] == [True, True, False]


# -- functions that hold something -----------------------------------------------------------------


def torch_generator():
    generator = torch.Generator().manual_seed(3)
    return lambda: torch.rand(1, generator=generator).item()


def numpy_generator():
    generator = np.random.default_rng(3)
    return lambda: float(generator.random())


def numpy_state():
    generator = np.random.RandomState(3)
    return lambda: float(generator.rand())


def python_generator():
    generator = random.Random(3)
    return lambda: generator.random()


def by_default():
    def draw(generator=np.random.default_rng(3)):  # noqa: B008
        return float(generator.random())

    return draw


def by_keyword():
    def draw(*, generator=np.random.default_rng(3)):  # noqa: B008
        return float(generator.random())

    return draw


def by_attribute():
    def draw():
        return float(draw.generator.random())

    draw.generator = np.random.default_rng(3)
    return draw


def by_counter():
    count = 0

    def draw():
        nonlocal count
        count += 1
        return count

    return draw


def nested():
    inner = numpy_generator()
    return lambda: inner()


def bound():
    generator = np.random.default_rng(3)
    return functools.partial(lambda draw: float(draw()), generator.random)


def bound_to_a_python_generator():
    return functools.partial(lambda draw: draw(), random.Random(3).random)


def bound_to_a_list():
    return functools.partial(lambda pop: pop(), [3, 2, 1, 0].pop)


def bound_in_a_closure():
    draw = random.Random(3).random
    return lambda: draw()


def bound_alone():
    return [3, 2, 1, 0].pop


def recursive():
    generator = np.random.default_rng(3)

    def draw(depth=2):
        return draw(depth - 1) if depth else float(generator.random())

    return draw


PUT_BACK = [
    torch_generator,
    numpy_generator,
    numpy_state,
    nested,
    bound,
    bound_to_a_python_generator,
    bound_to_a_list,
    bound_in_a_closure,
    bound_alone,
]
HOLDERS = [
    *PUT_BACK,
    python_generator,
    by_default,
    by_keyword,
    by_attribute,
    by_counter,
    recursive,
]


class Rows(torch.utils.data.Dataset):
    def __init__(self, draw):
        self.draw = draw

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return float(self.draw())


def through_loader(draw):
    return DataLoader([0.0] * 4, collate_fn=lambda items: draw())


def through_dataset(draw):
    return DataLoader(Rows(draw))


def through_transform(draw):
    from torchvision.transforms import v2

    return DataLoader(Rows(functools.partial(v2.Lambda(lambda value: value + draw()), 0.0)))


def read(loader):
    return [float(batch) for batch in loader]


@pytest.mark.parametrize("wrap", [through_loader, through_dataset, through_transform])
@pytest.mark.parametrize("make", HOLDERS)
def test_what_functions_of_the_data_hold_is_copied(make, wrap):
    expected = read(wrap(make()))
    loader = wrap(make())
    own, uncopied = copy_data(loader)
    assert uncopied == []
    assert read(own) == expected  # in its present state
    assert read(loader) == expected  # which the copy has not moved


def test_functions_that_share_a_variable_share_it_in_the_copy():
    def pair():
        count = [0]
        return lambda: count.append(1), lambda: len(count)

    add, size = pair()
    (own_add, own_size), _ = copy_data((add, size))
    own_add()
    assert (own_size(), size()) == (2, 1)


def test_functions_see_the_globals_of_their_module():
    own, _ = copy_data(by_default())
    assert own.__globals__ is by_default.__globals__
    assert own.__qualname__ == by_default().__qualname__


class Holder(nn.Module):
    def __init__(self, make, deep=False):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.draw = types.SimpleNamespace(inner=[make()]) if deep else make()
        self.deep = deep

    def forward(self):
        return self.draw.inner[0]() if self.deep else self.draw()


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("make", HOLDERS)
def test_what_functions_of_a_module_hold_is_copied(make, deep):
    module = Holder(make, deep)
    own = copy_module(module)
    first = [own() for _ in range(3)]
    assert first[0] == Holder(make)()
    assert [module() for _ in range(3)] == first


@pytest.mark.parametrize("make", PUT_BACK)
def test_what_functions_of_a_module_hold_is_put_back(make):
    module = Holder(make)
    with module_kept(module):
        first = [module() for _ in range(3)]
    assert [module() for _ in range(3)] == first


def test_a_generator_that_two_refer_to_is_put_back_for_both():
    module = nn.Linear(1, 1)
    module.generator = np.random.default_rng(3)
    other = module.generator
    with module_kept(module):
        first = module.generator.random()
    assert module.generator is other
    assert other.random() == first


# -- modules ---------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("seen", torch.zeros(1), persistent=False)
        self.history, self.best = [], {"loss": 1.0}

    def work(self):
        with torch.no_grad():
            self.layer.weight.mul_(2)
        self.seen += 1
        self.history.append(1)
        self.best["loss"] = 0.0
        self.layer.weight.requires_grad_(False)
        self.added = nn.Linear(1, 1)


def state(net):
    values = [value.clone() for value in (*net.parameters(), *net.buffers())]
    grads = [parameter.requires_grad for parameter in net.parameters()]
    return values, grads, list(net.history), dict(net.best), sorted(vars(net)["_modules"])


def equal(one, other):
    return all(map(torch.equal, one[0], other[0])) and one[1:] == other[1:]


def test_a_module_that_was_kept_is_as_it_was_in_the_same_objects():
    net = Net()
    before, weight, history = state(net), net.layer.weight, net.history
    storage = weight.data_ptr()
    with module_kept(net):
        net.work()
        weight.data = weight.data.double().clone()  # as moving it elsewhere and back does
    assert equal(before, state(net))
    with pytest.raises(ZeroDivisionError), module_kept(net):
        _ = 1 / (net.work() is not None)
    assert equal(before, state(net))
    assert net.layer.weight is weight
    assert weight.data_ptr() == storage
    assert net.history is history


class Counted(nn.Linear):
    """Counts in a function that is set as a method, in a dict that only this function holds."""

    def __init__(self):
        super().__init__(1, 1)
        counts = {"steps": 0}
        self.step = types.MethodType(functools.partial(self._step, counts=counts), self)
        self.notes = []
        self.note = self.notes.append

    @staticmethod
    def _step(module, counts):
        counts["steps"] += 1
        return module, counts["steps"]


def test_the_state_of_a_method_of_one_instance_is_copied():
    net = Counted()
    net.step()
    own = copy_module(net)
    assert own.step() == (own, 2)
    own.note("of the copy")
    assert own.notes == ["of the copy"]
    assert net.step() == (net, 2)
    assert net.notes == []


def test_the_state_of_a_method_of_one_instance_is_restored():
    net = Counted()
    net.step()
    with module_kept(net):
        assert net.step() == (net, 2)
        net.note("within")
    assert net.step() == (net, 2)
    assert net.notes == []


def test_a_copy_shares_nothing_with_its_module():
    net = Net()
    before = state(net)
    copy_module(net).work()
    assert equal(before, state(net))


def test_lazy_layers_cannot_be_kept_and_say_so():
    with (
        pytest.raises(TypeError, match=r"lazy layers.*isolation='copy'"),
        module_kept(nn.LazyLinear(2)),
    ):
        pass


def test_what_cannot_be_copied_is_named_with_its_path(tmp_path):
    net = nn.Sequential(nn.Linear(1, 1))
    refused = pytest.raises(TypeError, match=r"Sequential.0.file cannot be copied")
    with (tmp_path / "log").open("w") as net[0].file, refused:
        copy_module(net)


@pytest.mark.parametrize(("held", "bound"), [([1], True), ({"a": 1}, True), (1.0, False)])
def test_functions_that_reach_back_are_seen(held, bound):
    net = nn.Linear(1, 1)
    net.function = lambda: held
    assert is_bound_to_itself(net) is bound


def test_copies_that_refer_to_themselves_are_gone_when_they_are_dissolved():
    net = Net()
    net.method = net.work
    made = []
    gc.collect()
    gc.disable()
    try:
        own = copy_module(net, made=made)
        refs = [weakref.ref(own.layer.weight), weakref.ref(own)]
        dissolve(made)
        del own, made
        assert [ref() for ref in refs] == [None, None]
    finally:
        gc.enable()
    assert net.layer.weight is not None


def test_what_a_copy_shares_is_not_dissolved():
    class Teacher(nn.Linear):
        def __deepcopy__(self, memo):
            return self

    net = nn.Sequential(nn.Linear(1, 1), Teacher(1, 1))
    made = []
    copy_module(net, made=made)
    dissolve(made)
    assert net[1].weight.shape == (1, 1)


# -- data ------------------------------------------------------------------------------------------


def test_tensors_of_one_storage_share_one_in_the_copy():
    whole = torch.arange(6.0)
    (own, view), _ = copy_data((whole, whole[2:4]))
    own[2] = 9
    assert view.tolist() == [9, 3]
    assert whole.tolist() == [0, 1, 2, 3, 4, 5]
    (one, same), _ = copy_data((whole, whole))
    assert one is same


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6).reshape(2, 3).T,
        torch.zeros(0),
        torch.tensor(2.0, requires_grad=True),
        torch.ones(2, dtype=torch.complex64).conj(),
        torch.eye(2).to_sparse(),
        nn.Parameter(torch.ones(2)),
    ],
    ids=str,
)
def test_tensors_of_any_kind_are_copied_as_they_are(tensor):
    own, _ = copy_data([tensor])
    assert type(own[0]) is type(tensor)
    assert torch.equal(own[0].detach().to_dense().resolve_conj(), tensor.detach().to_dense())
    assert own[0].requires_grad == tensor.requires_grad
    assert own[0] is not tensor


def test_large_arrays_are_shared():
    array, small = np.zeros(1 << 18), np.zeros(8)
    own, _ = copy_data([array, small])
    assert own[0] is array
    assert own[1] is not small


@pytest.mark.parametrize("method", [random.random, [threading.Lock()].append])
def test_methods_of_global_generators_and_of_what_cannot_be_copied_are_shared(method):
    module = Holder(lambda: functools.partial(method))
    assert copy_module(module).draw.func is method
    with module_kept(module):
        pass
    assert module.draw.func is method


def calls(function, *arguments):
    """How many calls of Python and C functions a function makes."""
    kinds = Counter()
    sys.setprofile(lambda frame, kind, about: kinds.update([kind]))
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return kinds["call"] + kinds["c_call"]


class Item:
    def __init__(self, index):
        self.index, self.name, self.rest = index, str(index), [index]


@pytest.mark.parametrize("copied", [copy_data, copy_module])
@pytest.mark.parametrize("kind", ["objects", "tensors"])
def test_each_of_many_small_parts_costs_as_much_as_one_of_few(kind, copied):
    made = Item if kind == "objects" else lambda index: torch.tensor([float(index)])

    def of(count):
        module = nn.Module()
        module.items = [made(index) for index in range(count)]
        return calls(copied, module)

    none, few, many = of(0), of(200), of(2000)
    assert many - none <= 10.5 * (few - none)
    assert few - none < 200 * 150  # calls of each


@pytest.mark.parametrize("keep", [random_state_kept, lambda: generators_kept(HELD)])
def test_an_error_is_not_replaced_by_one_of_restoring(keep, monkeypatch):
    """After a CUDA error every further call fails."""

    def fails(*_):
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(torch, "set_rng_state", fails)
    monkeypatch.setattr("lightning_hparams.random_states.set_state", fails)
    before = random.getstate()
    with pytest.raises(ValueError, match="mine"), keep():  # noqa: PT012
        random.random()
        raise ValueError("mine")
    if keep is random_state_kept:
        assert random.getstate() == before


def test_an_error_is_not_replaced_by_one_of_restoring_a_module(monkeypatch):
    module = torch.nn.Linear(2, 1)
    module.frozen = False
    with pytest.raises(ValueError, match="mine"), module_kept(module):  # noqa: PT012
        module.frozen = True
        monkeypatch.setattr(torch.Tensor, "copy_", lambda *_: 1 / 0)
        raise ValueError("mine")
    assert module.frozen is False
