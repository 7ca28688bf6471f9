"""Memory of the view and of other contexts: whose work is waited for, and whose memory is refused."""

SHAPE = (128, 256, 4)


def test_a_consumer_waits_for_the_copies_of_the_view(view, torch):
    """The copy is pending on one stream while another takes the memory, and writes it."""
    mine = view.tensor(SHAPE, "uint8")
    first, second = torch.cuda.Stream(), torch.cuda.Stream()
    for value in range(1, 100):
        torch.from_dlpack(mine).fill_(value)
        torch.cuda.synchronize()
        with torch.cuda.stream(first):
            torch.cuda._sleep(1_000_000)
        view.image(mine, stream=first)
        with torch.cuda.stream(second):
            torch.from_dlpack(mine).fill_(0)
        view.draw()
        assert (view.pixels() == value).all(), value


def test_the_interface_names_a_stream_while_a_copy_is_pending(view, torch):
    mine = view.tensor(SHAPE, "uint8")
    assert mine.__cuda_array_interface__["stream"] is None
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(1_000_000_000)
    view.image(mine, stream=stream)
    assert mine.__cuda_array_interface__["stream"] == 1
    torch.cuda.synchronize()
    assert mine.__cuda_array_interface__["stream"] is None
