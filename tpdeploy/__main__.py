"""`python -m tpdeploy` is `tpdeploy`."""

from tpdeploy.cli.main import main

main()
