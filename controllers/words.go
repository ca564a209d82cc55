package controllers

import (
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
)

const (
	// maxNoteBytes bounds an event's note: the API server refuses one of more than 1,024 bytes, and the event with it (KEP-383).
	maxNoteBytes = 1000
	// maxMessageBytes bounds a condition's message: of more than 32,768 bytes the API server refuses the whole status. People read the first lines.
	maxMessageBytes = 4000
)

// shortened is that many bytes of the text, with a sign where something is missing.
func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// oneLine has single blanks for all white space.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// ownSide is this side's end of a connection, as Go's errors name it.
var ownSide = regexp.MustCompile(`[^ ]+:[0-9]+->`)

// steady is an error of the network without what differs from one attempt to the next: the port of this side.
func steady(text string) string { return ownSide.ReplaceAllString(text, "") }

// conciseRecorder has notes that the API server takes.
type conciseRecorder struct{ events.EventRecorder }

// Eventf makes an event.
func (r conciseRecorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	r.EventRecorder.Eventf(regarding, related, kind, reason, action, "%s", shortened(fmt.Sprintf(note, args...), maxNoteBytes))
}
