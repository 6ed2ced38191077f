// gohttp ADDRESS: net/http answering every request with a hello.
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("Hello, World!"))
	})
	if err := http.ListenAndServe(os.Args[1], hello); err != nil {
		fmt.Fprintln(os.Stderr, "gohttp:", err)
		os.Exit(1)
	}
}
