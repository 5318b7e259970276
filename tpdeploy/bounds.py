"""The ranges of numbers that users and files may give, each far beyond anything that was built.

Beyond them is a slip of the keyboard or a broken file. Inside them products and quotients of a few
numbers stay finite, so that no equation of the planner has to guard itself. Field types for
records; the numbers alone for options and tables.
"""

from typing import Annotated

from pydantic import Field

# The longest context of a published model is 10 million tokens (Llama 4 Scout).
MOST_TOKENS = 10**8
MOST_REQUESTS = 10**9
# More clients than any server has sockets for at once.
MOST_CLIENTS = 10**6
# One request in twelve days, and what no front of any service has seen.
LEAST_RATE, MOST_RATE = 1e-6, 1e6
# A microsecond, and twelve days.
LEAST_TARGET_MS, MOST_TARGET_MS = 1e-3, 1e9
# Of one device. The dearest is rented for some ten dollars per hour.
LEAST_PRICE, MOST_PRICE = 1e-6, 1e6
MOST_DRAFTED = 1000
# A draft that takes a thousand steps of the model itself helps nobody.
MOST_DRAFT_COST = 1e3
# The largest sites have some hundred thousand GPUs.
MOST_DEVICES = 100_000
# A pebibyte on one device, and a second's worth of it a thousand times over.
MOST_BYTES = 2**50
MOST_BYTES_PER_S, MOST_FLOPS_PER_S = 1e18, 1e21
LEAST_PER_S = 1.0
# From less than a cycle of any clock to eleven days.
LEAST_SECONDS, MOST_SECONDS = 1e-12, 1e6
# A time to first token below a nanosecond was not measured.
LEAST_TTFT_MS = 1e-6
# Latencies and rates as predicted or measured, in whatever unit.
MOST_FIGURE = 1e15
# What is learned stays within a factor of 4; a file that says more was not written by us.
LEAST_FACTOR, MOST_FACTOR = 1e-3, 1e3
# Numbers without a range of their own: whole ones that every language's integers hold.
MOST_NUMBER = 2**53
MOST_PARAMETERS = 10**18

Tokens = Annotated[int, Field(gt=0, le=MOST_TOKENS)]
Clients = Annotated[int, Field(gt=0, le=MOST_CLIENTS)]
Rate = Annotated[float, Field(ge=LEAST_RATE, le=MOST_RATE)]
TargetMs = Annotated[float, Field(ge=LEAST_TARGET_MS, le=MOST_TARGET_MS)]
Price = Annotated[float, Field(ge=LEAST_PRICE, le=MOST_PRICE)]
Devices = Annotated[int, Field(gt=0, le=MOST_DEVICES)]
Index = Annotated[int, Field(ge=0, le=MOST_DEVICES)]
Whole = Annotated[int, Field(ge=0, le=MOST_NUMBER)]
Count = Annotated[int, Field(ge=0, le=MOST_REQUESTS)]
Bytes = Annotated[int, Field(ge=0, le=MOST_BYTES)]
BytesPerS = Annotated[float, Field(ge=LEAST_PER_S, le=MOST_BYTES_PER_S)]
FlopsPerS = Annotated[float, Field(ge=LEAST_PER_S, le=MOST_FLOPS_PER_S)]
Seconds = Annotated[float, Field(ge=LEAST_SECONDS, le=MOST_SECONDS)]
Figure = Annotated[float, Field(ge=0, le=MOST_FIGURE)]
Factor = Annotated[float, Field(ge=LEAST_FACTOR, le=MOST_FACTOR)]
