package etcdclients

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestCurl runs the scripts that speak to REST and to the JSON gateway with curl alone, as people do.
func TestCurl(t *testing.T) {
	for i, script := range []string{"rest.sh", "gateway.sh"} {
		t.Run(script, func(t *testing.T) {
			c := exec.CommandContext(within(t), "sh", "curl/"+script)
			c.Env = append(os.Environ(), "NODE=http://"+shared.nodes[i].client, "NAME="+strings.ReplaceAll(fresh(t), "/", "-"), "no_proxy=*")
			if out, err := c.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "done\n") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
