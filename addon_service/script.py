"""What buttons, skins and keymaps run; the code is in resources/lib."""

import sys

from resources.lib.actions import main

main(sys.argv[1:])
