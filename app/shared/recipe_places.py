"""Where in a picture's file its recipe and its infotext stand: what the engine writes and intake reads."""

RECIPE = "radiata"  # keyword of a PNG's chunk of text
INFOTEXT = "parameters"  # the same, as A1111 calls it
UNICODE = b"UNICODE\0"  # how EXIF says that a comment is UTF-16
XMP = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:radiata="urn:radiata"><radiata:recipe>{recipe}</radiata:recipe>'
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)
IN_XMP = rb"<radiata:recipe>([^<]*)</radiata:recipe>"
