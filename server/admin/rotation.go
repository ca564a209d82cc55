package admin

import (
	"context"
	"time"

	"github.com/raftkv/raftkv/rpc"
)

const (
	// TokenGrace is for how long connections that were made with a token stay when the file holds another one. Whoever is to know the new token, the operator
	// for one, comes over meanwhile, so that nobody takes the node for silent.
	TokenGrace = 30 * time.Second
	// tokenCheck is how often the file is looked at. It is not only then that a new token counts: whoever connects needs it at once.
	tokenCheck = 10 * time.Second
)

// endOldTokens ends the connections that were made with a token which was replaced: a token is asked for once on each. A file that cannot be read, as while
// it is replaced, lets nobody in and ends nothing.
func endOldTokens(ctx context.Context, server *rpc.Server, tokenFile string) {
	ticker := time.NewTicker(tokenCheck)
	defer ticker.Stop()
	known, _ := ReadToken(tokenFile)
	since := time.Now() // that is known, or the connections were looked through
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		token, err := ReadToken(tokenFile)
		if err != nil {
			continue
		}
		if token != known {
			known, since = token, time.Now()
		}
		if time.Since(since) >= TokenGrace {
			server.DisconnectIf(func(md rpc.Metadata) *rpc.Error { return outdated(md, known) })
			since = time.Now()
		}
	}
}

// outdated tells of a connection that came with another token than the present one; those of members come without.
func outdated(md rpc.Metadata, present string) *rpc.Error {
	if token, given := md[MetadataToken]; !given || equalTokens(token, present) {
		return nil
	}
	return rpc.Errorf(rpc.CodeUnauthenticated, "the admin token was replaced: connect with the new one")
}
