TITLE="point"
def run(run):
    raise NotImplementedError
