// Package conformance runs the Gateway API's own conformance suite, as its module has it: what to run comes in flags.
package conformance

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) {
	conformance.RunConformance(t)
}
