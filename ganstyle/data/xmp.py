"""XMP packets: read without danger, cleared of places and of what is true no more, and the note of a translation.

Source: the XMP specification, parts 1 and 3 (ISO 16684-1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from xml.dom import minidom

from defusedxml import minidom as safe_minidom

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
TIFF = "http://ns.adobe.com/tiff/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
# A URN: no host is claimed.
NOTE = "urn:ganstyle:translation:1:"
TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"

MOST_BYTES = 2_000_000
DEEPEST = 100  # elements inside of one another
EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"/></x:xmpmeta>'

# Names, in any namespace, of what tells a place: EXIF's GPS*, and what drones and phones call it ("Longtitude" is how
# one maker writes it). Names of towns and countries that somebody wrote into a caption (photoshop:City) are no GPS.
PLACES = re.compile(r"gps|latitude|long(t)?itude|altitude|geo(tag|location|point)|coordinates|makernote", re.IGNORECASE)
# As drones end the names of what they aim at (LRFTargetLat); not of texts such as IPTC's AltTextAccessibility.
PLACES_AT_END = re.compile(r"(Lat|Lon|Lng|Alt)$")
SHORT_PLACES = {"lat", "lon", "long", "lng", "alt", "lat_long", "point"}

# What speaks of data that the new file does not have: gain and depth maps, films beside the photo, other thumbnails.
BESIDE = re.compile(
    r"^http://ns\.(adobe\.com/hdr-gain-map|google\.com/photos/1\.0/(?!panorama)|apple\.com/(HDRGainMap|pixeldatainfo))"
)
STALE = {"Thumbnails", "HasExtendedXMP", "NativeDigest"}


class BrokenXmp(Exception):
    """An XMP packet of which nothing can be kept; says why in a few words."""


def tells_a_place(name: str) -> bool:
    """Whether a property's local name is that of a place (or of a maker's note, which may hold one)."""
    return bool(PLACES.search(name) or PLACES_AT_END.search(name)) or name.lower() in SHORT_PLACES


class Packet:
    """One XMP packet, to be changed and written again; prefixes and all that is not touched stay as they were."""

    def __init__(self, data: bytes = b"") -> None:
        """Parse a packet, or begin an empty one; BrokenXmp for what is huge, deep, no XML or has a DTD."""
        if len(data) > MOST_BYTES:
            raise BrokenXmp(f"it has {len(data) / 1e6:.3g} MB")
        try:
            packet = data.strip(b"\0 \r\n\t") or EMPTY
            self.document: minidom.Document = safe_minidom.parseString(packet, forbid_dtd=True)
            self.root = self._root()
            self.rdf = self._found_rdf()
        except BrokenXmp:
            raise
        except Exception as error:  # the parser and its guards raise a dozen kinds
            raise BrokenXmp("it is no XML without entities") from error

    def drop_places(self) -> None:
        """Take out every property that tells a place, whatever its namespace, attribute or element."""
        self._drop(lambda node: node.namespaceURI != RDF and tells_a_place(_local(node)))  # rdf:Alt is no altitude
        for element in list(_elements(self.root)):
            for child in list(element.childNodes):
                if child.nodeType in (child.COMMENT_NODE, child.PROCESSING_INSTRUCTION_NODE):
                    element.removeChild(child)

    def drop_stale(self) -> bool:
        """Take out what speaks of data beside the photo; whether there was a gain map, a depth map or a film."""
        self._drop(lambda node: _local(node) in STALE)
        return self._drop(lambda node: bool(BESIDE.match(node.namespaceURI or "")))

    def correct(self, namespace: str, name: str, value: str) -> None:
        """Give every property of this name its new value; none is made where there was none."""
        for element in list(_elements(self.rdf)):
            for attribute in _attributes(element):
                if attribute.namespaceURI == namespace and attribute.localName == name:
                    attribute.value = value
            if element.namespaceURI == namespace and element.localName == name:
                while element.firstChild is not None:
                    element.removeChild(element.firstChild)
                element.appendChild(self.document.createTextNode(value))

    def drop(self, namespace: str, name: str) -> None:
        """Take out every property of this name."""
        self._drop(lambda node: node.namespaceURI == namespace and _local(node) == name)

    def put_note(self, note: Mapping[str, str]) -> None:
        """Write the note of a translation, in place of any earlier one."""
        self._drop(lambda node: node.namespaceURI == NOTE)
        self.drop(IPTC, "DigitalSourceType")
        described = self.document.createElementNS(RDF, "rdf:Description")
        for prefix, namespace in (("rdf", RDF), ("ganstyle", NOTE), ("Iptc4xmpExt", IPTC)):
            described.setAttributeNS("http://www.w3.org/2000/xmlns/", f"xmlns:{prefix}", namespace)
        described.setAttributeNS(RDF, "rdf:about", "")
        described.setAttributeNS(IPTC, "Iptc4xmpExt:DigitalSourceType", TRAINED)
        for name, value in note.items():
            described.setAttributeNS(NOTE, f"ganstyle:{_xml_name(name)}", _xml_text(value))
        self.rdf.appendChild(described)

    def note(self) -> dict[str, str] | None:
        """The note of a translation; None where there is none."""
        found = {
            _plain_name(attribute.localName): attribute.value
            for element in _elements(self.rdf)
            for attribute in _attributes(element)
            if attribute.namespaceURI == NOTE and attribute.localName
        }
        return found or None

    def is_empty(self) -> bool:
        """Whether nothing is said."""
        return not any(
            element is not self.rdf
            and (element.localName != "Description" or any(_local(each) != "about" for each in _attributes(element)))
            for element in _elements(self.rdf)
        )

    def to_bytes(self) -> bytes:
        """The packet in UTF-8, with the wrapper by which programs find it."""
        top = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        return (top + self.root.toxml() + '\n<?xpacket end="w"?>').encode("utf-8", "xmlcharrefreplace")

    def _root(self) -> minidom.Element:
        root = self.document.documentElement
        if root is None:
            raise BrokenXmp("it is empty")
        return root

    def _found_rdf(self) -> minidom.Element:
        found = [each for each in _elements(self.root) if each.namespaceURI == RDF and each.localName == "RDF"]
        if not found:
            raise BrokenXmp("it has no RDF")
        return found[0]

    def _drop(self, wrong: Callable[[minidom.Node], bool]) -> bool:
        dropped = False
        for element in list(_elements(self.root)):
            for attribute in _attributes(element):
                if wrong(attribute):
                    element.removeAttributeNode(attribute)
                    dropped = True
            if element not in (self.root, self.rdf) and wrong(element):
                if element.parentNode is not None:
                    element.parentNode.removeChild(element)
                dropped = True
        return dropped


def _elements(top: minidom.Element, depth: int = 0) -> Iterator[minidom.Element]:
    """An element and all below it."""
    if depth > DEEPEST:
        raise BrokenXmp(f"its elements lie more than {DEEPEST} deep")
    yield top
    for child in list(top.childNodes):
        if isinstance(child, minidom.Element):
            yield from _elements(child, depth + 1)


def _attributes(element: minidom.Element) -> list[minidom.Attr]:
    """The attributes that are properties: declarations of namespaces are not."""
    found = [element.attributes.item(place) for place in range(element.attributes.length)]
    return [each for each in found if isinstance(each, minidom.Attr) and "xmlns" not in (each.prefix, each.name)]


def _local(node: minidom.Node) -> str:
    return str(node.localName or node.nodeName).split(":")[-1]


def _xml_name(name: str) -> str:
    """A key as an XML name: what a name cannot hold is written as _x and its number in six hexadecimal digits."""
    if not name:
        return "_"
    unfit = r"[^A-Za-z0-9._-]|^[0-9.-]|_(?=x[0-9a-f]{6})"
    return re.sub(unfit, lambda match: f"_x{ord(match[0]):06x}", name)


def _plain_name(name: str) -> str:
    return re.sub(r"_x([0-9a-f]{6})", lambda match: chr(int(match[1], 16)), name)


def _xml_text(value: str) -> str:
    """The value on one line, without the characters that XML has no way to write."""
    return re.sub(r"[\x00-\x1f\ud800-\udfff\ufffe\uffff]", " ", str(value))
