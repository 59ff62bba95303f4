"""Runs one function of a test, in a sub-interpreter of this addon. ``sys.argv[1]`` is the file with the order."""

import json
import os
import sys
import traceback


def answer(path, words):
    with open(path + ".unfinished", "w", encoding="utf-8") as file:
        json.dump(words, file, default=repr)
    os.replace(path + ".unfinished", path)


def main(path):
    with open(path, encoding="utf-8") as file:
        order = json.load(file)
    names = {"__name__": "__test__"}
    exec(compile(order["source"], order["function"], "exec"), names)
    try:
        result = names[order["function"]](*order["arguments"])
    except BaseException:
        answer(order["answer"], {"error": traceback.format_exc()})
        raise  # what an uncaught exception does to the rest of Kodi is part of what is tested
    answer(order["answer"], {"result": result})


main(sys.argv[1])
