"""Values of torch's schedulers."""

import torch


def along(schedule, total, **shape):
    return [schedule(at, total, **shape) for at in range(total)]


def torch_values(make, total, lr=1.0):
    """Return the rates and momenta of a torch scheduler over ``total`` steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    scheduler = make(optimizer)
    rates, momenta = [], []
    for taken in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        if taken < total - 1:
            scheduler.step()
    return rates, momenta
