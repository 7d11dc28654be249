/*
 * Looks names up as programs linked with musl do: getaddrinfo, gethostbyname, gethostbyname_r of each argument; for one that is
 * "-" waits until it is told to go on.
 */
#define _GNU_SOURCE
#include <netdb.h>
#include <stdio.h>
#include <string.h>

int main(int count, char **names)
{
	for (int at = 1; at < count; at++) {
		struct addrinfo *found = NULL;
		struct hostent entry, *host = NULL;
		char room[1024];
		int error = 0;

		if (!strcmp(names[at], "-")) {
			puts("\"ready\"");
			fflush(stdout);
			getchar();
			continue;
		}
		if (!getaddrinfo(names[at], "80", NULL, &found))
			freeaddrinfo(found);
		gethostbyname(names[at]);
		gethostbyname_r(names[at], &entry, room, sizeof(room), &host, &error);
	}
	return 0;
}
