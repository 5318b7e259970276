"""Supervise one deployment, whose plan and order lie in its folder."""

import sys

from tpdeploy.launcher.supervision.run import supervise

if __name__ == "__main__":
    supervise(sys.argv[1])
