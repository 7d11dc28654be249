"""Processes: every way of being hard to tell apart, and of moving bytes."""

from collections.abc import Iterator

from tests.live.truth import talk
from tests.live.truth.place import Place
from tests.live.truth.scenario import scenario

LOCAL, PORT = "127.0.0.1", 7007
SIZE = 50_021


@scenario("Processes", "UDP by send")
def udp_send(place: Place) -> Iterator[None]:
    yield
    receiver = place.play(talk.receive_datagrams, address=LOCAL, port=PORT, size=SIZE)
    assert receiver.hear() == "bound"
    place.run(talk.send_datagrams, address=LOCAL, port=PORT, size=SIZE, way="send")
    receiver.end()
