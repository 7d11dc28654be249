// A server or a client of HTTP inside TLS, by Go's own net/http: see test_decrypt_go.py.
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

type asked struct {
	Path   string
	Status int
}

func main() {
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2], os.Args[3])
	case "leave":
		leave(os.Args[2])
	default:
		ask(os.Args[2], number(3), number(4), os.Args[5] == "h2", os.Args[6] == "waits")
	}
}

func number(argument int) int {
	value, err := strconv.Atoi(os.Args[argument])
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func say(value any) {
	line, err := json.Marshal(value)
	check(err)
	fmt.Println(string(line))
}

// serve answers until it is killed. A body is read, and "missing" is not found.
func serve(address, certificate string) {
	http.HandleFunc("/", func(answer http.ResponseWriter, request *http.Request) {
		io.Copy(io.Discard, request.Body)
		if strings.HasSuffix(request.URL.Path, "/panics") {
			panic(http.ErrAbortHandler)
		}
		if strings.HasSuffix(request.URL.Path, "/missing") {
			answer.WriteHeader(http.StatusNotFound)
		}
		answer.Write([]byte("ok\n"))
	})
	listener, err := net.Listen("tcp", address)
	check(err)
	say("listening")
	check((&http.Server{}).ServeTLS(listener, certificate, certificate))
}

// ask has so many connections at once, each with so many requests whose path begins with the connection's port.
func ask(address string, connections, requests int, http2, waits bool) {
	var clients []func() []asked
	for range make([]int, connections) {
		clients = append(clients, connect(address, requests, http2))
	}
	if waits { // for a word, with connections that are open
		for _, client := range clients {
			client()
		}
		say("connected")
		bufio.NewReader(os.Stdin).ReadString('\n')
	}
	var all []asked
	var guard sync.Mutex
	var group sync.WaitGroup
	for _, client := range clients {
		group.Add(1)
		go func(client func() []asked) {
			defer group.Done()
			found := client()
			guard.Lock()
			all = append(all, found...)
			guard.Unlock()
		}(client)
	}
	group.Wait()
	say(all)
	bufio.NewReader(os.Stdin).ReadString('\n')
}

// connect returns what sends the requests on one connection at a time, those of HTTP/2 three at once.
func connect(address string, requests int, http2 bool) func() []asked {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: http2,
		MaxConnsPerHost:   1,
	}}
	atOnce := 1
	if http2 {
		atOnce = 3
	}
	return func() []asked {
		found := make([]asked, requests)
		for begin := 0; begin < requests; begin += atOnce {
			var group sync.WaitGroup
			for each := begin; each < begin+atOnce && each < requests; each++ {
				group.Add(1)
				go func(each int) {
					defer group.Done()
					found[each] = one(client, address, each)
				}(each)
			}
			group.Wait()
		}
		return found
	}
}

type faulty struct {
	net.Conn
	panics bool
}

func (conn *faulty) Write(bytes []byte) (int, error) {
	if conn.panics {
		panic("nothing is written")
	}
	return conn.Conn.Write(bytes)
}

// leave begins to write a request, leaves that by a panic, and asks on another connection, all in one goroutine.
func leave(address string) {
	bufio.NewReader(os.Stdin).ReadString('\n')
	for round := 0; round < 20; round++ {
		raw, err := net.Dial("tcp", address)
		check(err)
		first := &faulty{Conn: raw}
		conn := tls.Client(first, &tls.Config{InsecureSkipVerify: true})
		check(conn.Handshake())
		first.panics = true
		func() {
			defer func() { recover() }()
			fmt.Fprintf(conn, "GET /%d/left HTTP/1.1\r\nHost: a\r\n\r\n", raw.LocalAddr().(*net.TCPAddr).Port)
		}()
		other, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		check(err)
		fmt.Fprintf(other, "GET /%d/asked HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", other.LocalAddr().(*net.TCPAddr).Port)
		io.Copy(io.Discard, other)
		other.Close()
		raw.Close()
	}
	say("done")
	bufio.NewReader(os.Stdin).ReadString('\n')
}

func one(client *http.Client, address string, each int) asked {
	method, body, path := "GET", "", ""
	switch each % 4 {
	case 1:
		method, body = "POST", strings.Repeat("GET /body HTTP/1.1\r\n", 1000)
	case 2:
		path = "/missing"
	}
	request, err := http.NewRequest(method, "https://"+address, strings.NewReader(body))
	check(err)
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		request.URL.Path = fmt.Sprintf("/%d/%d%s", info.Conn.LocalAddr().(*net.TCPAddr).Port, each, path)
	}}
	request = request.WithContext(httptrace.WithClientTrace(request.Context(), trace))
	request.Header.Set("Cookie", "must-not-keep")
	answer, err := client.Do(request)
	check(err)
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	return asked{request.URL.Path, answer.StatusCode}
}
