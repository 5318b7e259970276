"""What a service manager is told (sd_notify(3)); nothing where there is none."""

import os
import socket


class Manager:
    """The service manager that started this process, if one did."""

    def __init__(self) -> None:
        # Engines are not to speak for the supervisor.
        self.address = os.environ.pop("NOTIFY_SOCKET", "")
        os.environ.pop("WATCHDOG_USEC", None)
        os.environ.pop("WATCHDOG_PID", None)

    def tell(self, *words: str) -> None:
        """`READY=1`, `WATCHDOG=1`, `STATUS=...`; lost where nobody listens."""
        if not self.address:
            return
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as there:
            there.setblocking(False)
            try:
                there.connect(address)
                there.send("\n".join(words).encode())
            except OSError:
                return
